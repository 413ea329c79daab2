-- The kinds that a server did not seem to have, though it lists tasks of them at other times: a JSON list.
ALTER TABLE look ADD COLUMN absent TEXT NOT NULL DEFAULT '[]';
