"""Where timers are kept: in PostgreSQL, or in memory with the same meaning."""

from timer_trio.storage.protocols import (
    AttemptStorage,
    Beat,
    ClaimReply,
    Hint,
    HintsLostError,
    HintStorage,
    Looked,
    Pruned,
    ReplicaStorage,
    RetentionStorage,
    Rotated,
    ShardCursor,
    Storage,
    Swept,
    TimerStorage,
    WorkStorage,
)

__all__ = [
    "AttemptStorage",
    "Beat",
    "ClaimReply",
    "Hint",
    "HintStorage",
    "HintsLostError",
    "Looked",
    "Pruned",
    "ReplicaStorage",
    "RetentionStorage",
    "Rotated",
    "ShardCursor",
    "Storage",
    "Swept",
    "TimerStorage",
    "WorkStorage",
]
