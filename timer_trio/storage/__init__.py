"""Where timers are kept: in PostgreSQL, or in memory with the same meaning."""

from timer_trio.storage.protocols import (
    Beat,
    ClaimReply,
    Hint,
    HintsLostError,
    HintStorage,
    Looked,
    Pruned,
    ReplicaStorage,
    RetentionStorage,
    ShardCursor,
    Storage,
    Swept,
    TimerStorage,
    WorkStorage,
)

__all__ = [
    "Beat",
    "ClaimReply",
    "Hint",
    "HintStorage",
    "HintsLostError",
    "Looked",
    "Pruned",
    "ReplicaStorage",
    "RetentionStorage",
    "ShardCursor",
    "Storage",
    "Swept",
    "TimerStorage",
    "WorkStorage",
]
