-- Tokens by which callers are known. Only the hash is kept: whoever reads this file learns no token.
create table token (
  name      text    not null primary key check (length(name) between 1 and 63),
  hash      blob    not null unique check (length(hash) = 32), -- SHA-256 of the token's text
  created_s integer not null                                   -- seconds since 1970, UTC
) strict, without rowid;
