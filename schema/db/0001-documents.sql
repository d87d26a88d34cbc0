-- SPDX-License-Identifier: Apache-2.0
-- Documents (profiles, clusters) with all their versions, and operations.

-- One row for each name an owner has ever used. A removed document keeps its versions,
-- so that a machine that runs keeps what it was booted with.
CREATE TABLE document (
    id      INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL CHECK (kind IN ('profile', 'cluster')),
    owner   INTEGER NOT NULL CHECK (owner >= 0),
    name    TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    version INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0 CHECK (removed IN (0, 1)),
    UNIQUE (kind, owner, name),
    FOREIGN KEY (id, version) REFERENCES revision (document, version)
        DEFERRABLE INITIALLY DEFERRED
) STRICT;

-- What a document was, from version 1 without gaps. body is the XML as it was written;
-- summary the JSON object that lists show.
CREATE TABLE revision (
    document INTEGER NOT NULL REFERENCES document (id),
    version  INTEGER NOT NULL CHECK (version >= 1),
    at_ms    INTEGER NOT NULL,
    who      INTEGER NOT NULL CHECK (who >= 0),
    action   TEXT NOT NULL CHECK (action IN ('add', 'change', 'remove')),
    body     TEXT,
    summary  TEXT NOT NULL,
    PRIMARY KEY (document, version),
    CHECK ((action = 'remove') = (body IS NULL))
) STRICT, WITHOUT ROWID;

-- Every change a person or a policy asked for. A request sent twice finds its first row.
CREATE TABLE operation (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    method     TEXT NOT NULL,
    target     TEXT,
    who        INTEGER NOT NULL,
    request    TEXT,
    state      TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    result     TEXT,
    error      TEXT
) STRICT;
CREATE UNIQUE INDEX operation_request ON operation (who, request)
    WHERE request IS NOT NULL;
CREATE INDEX operation_target ON operation (target);
