-- Schema 2: people decide on each item of a request. A vote names the items that it refuses though the rest may pass; an
-- item ends by itself, refused by a person or withdrawn because nothing asks for it any more.
ALTER TABLE vote ADD COLUMN refused TEXT NOT NULL DEFAULT '[]';
ALTER TABLE approval_item ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE approval_item ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
-- What was denied before was denied as a whole.
UPDATE approval_item SET refused = 1 WHERE approval IN (SELECT id FROM approval WHERE status = 'denied');
