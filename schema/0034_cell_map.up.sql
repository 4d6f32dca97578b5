-- Which cells there are, and which of them this is: whoever says otherwise must not write here.
-- Without a row there is one cell.
CREATE TABLE cell_map (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    map text NOT NULL,
    own text NOT NULL
);
