"""Storage in several databases, the cells: one to whoever asks for what consumers ask for.

What has an id is asked of the cell of that id alone, and what has a name of the cell of that name.
Lists are asked of all cells at once and merged. What all are to know is read from the first that
answers, and written to each.
"""

from __future__ import annotations

from timer_trio.storage.routed.api_keys import RoutedApiKeys
from timer_trio.storage.routed.audit import RoutedAudit
from timer_trio.storage.routed.bulk import RoutedBulk
from timer_trio.storage.routed.destinations import RoutedDestinations
from timer_trio.storage.routed.flows import RoutedFlows
from timer_trio.storage.routed.keys import RoutedKeys
from timer_trio.storage.routed.projects import RoutedProjects
from timer_trio.storage.routed.replicas import RoutedReplicas
from timer_trio.storage.routed.rules import RoutedRules
from timer_trio.storage.routed.samples import RoutedSamples
from timer_trio.storage.routed.schedules import RoutedSchedules
from timer_trio.storage.routed.signing import FollowingSigning, RoutedSigning

__all__ = ["FollowingSigning", "RoutedStorage"]


class RoutedStorage(
    RoutedBulk,
    RoutedKeys,
    RoutedSamples,
    RoutedSchedules,
    RoutedFlows,
    RoutedRules,
    RoutedProjects,
    RoutedApiKeys,
    RoutedAudit,
    RoutedReplicas,
    RoutedSigning,
    RoutedDestinations,
):
    """An ApiStorage in several cells."""
