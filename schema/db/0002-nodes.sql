-- SPDX-License-Identifier: Apache-2.0
-- Nodes, the machines that were started on them through the controller, the steps of
-- operations that reach beyond the store, and the log of events.

-- spec is how to reach it (see src/controller/hub.h); drained why it takes no new machines.
CREATE TABLE node (
    name       TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 63),
    spec       TEXT NOT NULL,
    drained    TEXT,
    who        INTEGER NOT NULL,
    added_ms   INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A machine that the controller put somewhere; the row is written before the node is
-- asked, and goes when the node has said that the machine is gone.
CREATE TABLE placement (
    vm        TEXT NOT NULL,
    owner     INTEGER NOT NULL,
    node      TEXT NOT NULL,
    cluster   TEXT,
    operation INTEGER NOT NULL REFERENCES operation (id),
    PRIMARY KEY (vm, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX placement_cluster ON placement (cluster, owner);
CREATE INDEX placement_node ON placement (node);

-- What an operation asks of nodes, in phases: all of one phase at once, then the next.
-- undo is the request that takes the step back; NULL when there is nothing to take back.
CREATE TABLE step (
    operation INTEGER NOT NULL REFERENCES operation (id),
    n         INTEGER NOT NULL,
    phase     INTEGER NOT NULL,
    node      TEXT NOT NULL,
    vm        TEXT,
    request   TEXT NOT NULL,
    undo      TEXT,
    state     TEXT NOT NULL CHECK (state IN
              ('planned', 'sent', 'done', 'failed', 'undoing', 'undone', 'left')),
    detail    TEXT,
    PRIMARY KEY (operation, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    who   INTEGER,
    node  TEXT,
    vm    TEXT,
    job   TEXT,
    what  TEXT NOT NULL,
    data  TEXT
) STRICT;

-- Who besides its owner and root may boot a site's profile. No row: everybody may.
CREATE TABLE allowed (
    profile TEXT NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('user', 'group')),
    id      INTEGER NOT NULL,
    PRIMARY KEY (profile, kind, id)
) STRICT, WITHOUT ROWID;
