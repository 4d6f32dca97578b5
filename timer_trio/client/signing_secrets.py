"""Signing secrets: what signs callbacks."""

from __future__ import annotations

from typing import Final

from timer_trio.client.answers import DeletedSecret, SigningSecret
from timer_trio.client.call import Call, at, given
from timer_trio.client.operation import D, Resource, operation
from timer_trio.client.reading import members, record

_SECRET: Final = record(SigningSecret)


class SigningSecrets(Resource[D]):
    """`client.signing_secrets`."""

    @operation
    def list(self) -> Call[tuple[SigningSecret, ...]]:
        """Return the secrets that are valid, the current one last."""
        return Call.get("/signing-secrets", members("signing_secrets", SigningSecret))

    @operation
    def rotate(self, *, overlap_seconds: float | None = None) -> Call[SigningSecret]:
        """Make another secret the current one; the one before signs as well for so long."""
        wanted = given({"overlap_seconds": overlap_seconds})
        return Call.post("/signing-secrets/rotate", wanted, _SECRET)

    @operation
    def delete(self, secret_id: str) -> Call[DeletedSecret]:
        """Let a secret sign nothing any more."""
        read = record(DeletedSecret)
        return Call.delete(at("/signing-secrets/{}", secret_id), read, is_safe=False)
