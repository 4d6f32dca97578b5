"""Where timers are kept: in PostgreSQL, or in memory with the same meaning."""

from timer_trio.storage.protocols import (
    Beat,
    ClaimReply,
    DeafError,
    Hint,
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
    "DeafError",
    "Hint",
    "HintStorage",
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
