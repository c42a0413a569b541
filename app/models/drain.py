"""The mark that an operator sets while nothing is to be sent."""

from datetime import datetime

from sqlalchemy import CheckConstraint, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class Drain(Base):
    """One row at most. While it stands nothing is begun: what is in flight is recorded, the rest waits."""

    __tablename__ = "push_drain"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default=text("1"), autoincrement=False)
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    note: Mapped[str | None]
