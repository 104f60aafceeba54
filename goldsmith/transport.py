"""Kombu's Redis transport without its list of unacknowledged messages.

That list costs three round trips a message and gives one back after an hour. Ours are acknowledged before they run, and what
a killed worker held, rescue tells again within seconds: so nothing of it is written.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis, virtual


class _Delivered(redis.QoS):
    """Which messages are under way, in this process's memory alone."""

    append, ack, reject = virtual.QoS.append, virtual.QoS.ack, virtual.QoS.reject

    def restore_unacked(self, client: Any = None) -> None:
        self._delivered.clear()

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Nothing was hidden."""


class _Channel(redis.Channel):
    QoS = _Delivered


class Transport(redis.Transport):
    Channel = _Channel
