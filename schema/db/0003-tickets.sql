-- SPDX-License-Identifier: Apache-2.0
-- Which job used a ticket first, on any node: see src/controller/claims.c.
CREATE TABLE claim (
    ticket  TEXT PRIMARY KEY,
    job     TEXT NOT NULL,
    uid     INTEGER NOT NULL,
    node    TEXT NOT NULL,
    at_ms   INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
