"""Runs the migrations, one runner at a time, on the database of the settings (or of `-x url=…`)."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from goldsmith.settings import get_settings
from goldsmith.tables import metadata

LOCK = 7_310_501  # any fixed number: two runners must agree on it


def run() -> None:
    url = context.get_x_argument(as_dictionary=True).get("url") or get_settings().database
    url = url.replace("postgresql://", "postgresql+psycopg://", 1).replace("postgres://", "postgresql+psycopg://", 1)
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        connection.commit()


run()
