from tests.client.server import api

__all__ = ["api"]
