"""How much property tests try: little and always the same with the other tests, much and by chance in `make fuzz`.

`make fuzz` sets FUZZ_EXAMPLES, the examples of each property, and FUZZ_SEED, which repeats a run.
"""

import os

import hypothesis

USUAL_EXAMPLES = 40

FUZZ_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
FUZZ_SEED = int(os.environ.get("FUZZ_SEED", "0"))
IS_FUZZING = FUZZ_EXAMPLES > 0


def examples(usual: int) -> int:
    """Return how many examples a property tries that tries so many of them usually: it costs more than others."""
    return max(usual * FUZZ_EXAMPLES // USUAL_EXAMPLES, 1) if IS_FUZZING else usual


def load_profile() -> None:
    # How long an example takes is the machine's business.
    patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.register_profile("usual", patient, derandomize=True, max_examples=USUAL_EXAMPLES)
    hypothesis.settings.register_profile("fuzz", patient, max_examples=examples(USUAL_EXAMPLES), print_blob=True)
    hypothesis.settings.load_profile("fuzz" if IS_FUZZING else "usual")
