"""From the table to the receiver, and back.

- ``agenda``       what is about to be claimed: written by many, read by the claimer
- ``refill``       what the loader is asked to read
- ``loader``       reads what falls due soon into the agenda
- ``claimer``      has claimed what is due on the agenda
- ``claims``       does what the answer to a claim says of each timer
- ``claim_asker``  asks for timers until the database answers
- ``locked``       looks again at what somebody's transaction keeps locked
- ``launcher``     starts each claimed timer at its instant
- ``rule_keeper``  reads what people have changed of what holds callbacks back
- ``flow_keeper``  learns of flows before anything of them is claimed
- ``probe_keeper`` asks for the right to probe where breakers are half open
- ``firing``       a claimed timer on its way to its callback
- ``lines``        those whose instant has come, in line for the next connection
- ``firer``        one task a timer, from its instant to its outcome
- ``callback``     one request, and how it can end
- ``settler``      writes what became of each timer
- ``leftovers``    finds what a failover has left under this replica's claims
"""
