"""/health and /metrics: for load balancers, orchestrators and Prometheus. Open to all, and so without secrets.

All of it is async and off the request threads, so that it answers while every one of those waits for a database.
"""

import asyncio

from fastapi import Request, Response

from app.db.session import engine_of
from app.errors import NotFound
from app.health.checks import HealthChecks, is_ready, overall
from app.health.schemas import Health, Overall, Readiness
from app.observability import metrics
from app.web.problems import problem_responses
from app.web.routing import api_router

router = api_router(tags=["health"])


def _checks(request: Request) -> HealthChecks:
    """Return the app's checks, made when first needed: the database's address is known once the service runs."""
    state = request.app.state
    if not hasattr(state, "health_checks"):
        state.health_checks = HealthChecks(engine_of(state.sessions), state.settings.redis_url)
    checks: HealthChecks = state.health_checks
    return checks


@router.get(
    "/health/",
    summary="The service's state, and that of each part it depends on",
    responses={503: {"model": Health, "description": "A part that matters is down"}},
)
async def health(request: Request, response: Response) -> Health:
    """`degraded` still serves: 200. `unhealthy` does not: 503. The answer is at most a second old."""
    report = await _checks(request).report()
    if report.status is Overall.UNHEALTHY:
        response.status_code = 503
    return report


@router.get("/health/live", summary="Is the process up? Asks nothing else")
async def live() -> Readiness:
    return Readiness(status=Overall.OK)


@router.get(
    "/health/ready",
    summary="Can it serve requests?",
    responses={503: {"model": Readiness, "description": "The database or its migrations are missing"}},
)
async def ready(request: Request, response: Response) -> Readiness:
    dependencies = (await _checks(request).report()).dependencies
    if not is_ready(dependencies):
        response.status_code = 503
    return Readiness(status=overall(dependencies))


@router.get(
    "/metrics/",
    summary="Metrics of all processes, in Prometheus' text format",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Metrics"}, **problem_responses(404)},
)
async def show_metrics(request: Request) -> Response:
    if not request.app.state.settings.prometheus_metrics_enabled:
        raise NotFound("Metrics are switched off: PROMETHEUS_METRICS_ENABLED is false.")
    body, content_type = await asyncio.to_thread(metrics.render)
    return Response(body, media_type=content_type)
