/* store: typed calls on a SQLite file. SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what must outlive the process lies in DATA/plinth.db, in WAL mode, in STRICT tables, and every commit is on the disk when
 * the call returns (synchronous = full).
 * Invariants:
 *   1. user_version counts the schema steps that were applied; each step and its count are one transaction.
 *   2. application_id marks the file as ours; another program's database is refused, never written to.
 *   3. The file is readable by its owner only. */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "store/schema/schema.h"

enum {
  APPLICATION_ID = 0x506c696e, /* "Plin" */
  BUSY_MS = 5000,              /* `plinth token reset` may write while a server runs */
};

struct store {
  sqlite3 *db;
  char *path;
};

static int fail(const struct store *s, struct error *err, const char *what) {
  int code = sqlite3_errcode(s->db);
  const char *detail = sqlite3_errmsg(s->db);
  switch (code & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return error_set(err, ERROR_CORRUPT, "Cannot %s: \"%s\" is damaged or no Plinth store (%s). Restore it from a copy, or move it away.",
                       what, s->path, detail);
    case SQLITE_FULL:
      return error_set(err, ERROR_IO, "Cannot %s: the disk that holds \"%s\" is full. Free some space and try again.", what, s->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return error_set(err, ERROR_UNAVAILABLE, "Cannot %s: another process keeps \"%s\" locked. Try again when it is done.", what, s->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
      return error_set(err, ERROR_IO, "Cannot %s: \"%s\" cannot be opened for writing (%s). Check its owner and its permissions.", what,
                       s->path, detail);
    case SQLITE_IOERR:
      return error_set(err, ERROR_IO, "Cannot %s: \"%s\": %s. Look whether the disk that holds it is full or broken.", what, s->path,
                       detail);
    default: return error_set(err, ERROR_IO, "Cannot %s: \"%s\": %s.", what, s->path, detail);
  }
}

static int run(struct store *s, const char *sql, const char *what, struct error *err) {
  if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK) return 0;
  return fail(s, err, what);
}

static int get_pragma(struct store *s, const char *sql, int *ret, struct error *err) {
  sqlite3_stmt *st = NULL;
  if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW) {
    fail(s, err, "read the store");
    sqlite3_finalize(st);
    return -1;
  }
  *ret = sqlite3_column_int(st, 0);
  sqlite3_finalize(st);
  return 0;
}

/* One step and its number, or neither. */
static int apply_step(struct store *s, int number, struct error *err) {
  char done[64];
  snprintf(done, sizeof done, "pragma user_version = %d", number);
  if (run(s, schema_steps[number - 1], "bring the store up to date", err) != 0) return -1;
  return run(s, done, "bring the store up to date", err);
}

/* Inside an immediate transaction, so that two processes that start at once do not both migrate. */
static int migrate_locked(struct store *s, struct error *err) {
  int version, id;
  if (get_pragma(s, "pragma user_version", &version, err) != 0 || get_pragma(s, "pragma application_id", &id, err) != 0) return -1;
  int n_tables;
  if (get_pragma(s, "select count(*) from sqlite_schema", &n_tables, err) != 0) return -1;
  if (id != APPLICATION_ID && (n_tables > 0 || version > 0))
    return error_set(err, ERROR_CORRUPT, "\"%s\" is a database of another program. Move it away, or choose another --data-dir.", s->path);
  if (version > schema_n_steps)
    return error_set(err, ERROR_UNSUPPORTED, "\"%s\" was written by a newer Plinth (schema %d; this one knows %d). Start that one.",
                     s->path, version, schema_n_steps);
  char mark[64];
  snprintf(mark, sizeof mark, "pragma application_id = %d", (int)APPLICATION_ID);
  if (id != APPLICATION_ID && run(s, mark, "mark the store", err) != 0) return -1;
  while (version < schema_n_steps)
    if (apply_step(s, ++version, err) != 0) return -1;
  return 0;
}

static int migrate(struct store *s, struct error *err) {
  if (run(s, "begin immediate", "open the store", err) != 0) return -1;
  if (migrate_locked(s, err) != 0) {
    sqlite3_exec(s->db, "rollback", NULL, NULL, NULL);
    return -1;
  }
  return run(s, "commit", "bring the store up to date", err);
}

/* SQLite would make the file readable by everyone. */
static int make_private(const char *path, struct error *err) {
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return error_set(err, ERROR_IO, "Cannot open the store \"%s\": %s. Check the permissions of --data-dir.", path, strerror(errno));
  close(fd);
  return 0;
}

static int open_db(struct store *s, struct error *err) {
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
  if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK) return fail(s, err, "open the store");
  sqlite3_busy_timeout(s->db, BUSY_MS);
  sqlite3_extended_result_codes(s->db, 1);
  /* The mark is looked at before the journal mode is changed: that would write to the file. */
  if (migrate(s, err) != 0) return -1;
  return run(s, "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma trusted_schema = off",
             "open the store", err);
}

struct store *store_open(const char *data_dir, struct error *err) {
  if (fs_mkdirs(data_dir, 0700, err) != 0) return NULL;
  struct store *s = mem_zalloc(1, sizeof *s);
  s->path = fs_join(data_dir, "plinth.db");
  if (make_private(s->path, err) == 0 && open_db(s, err) == 0) return s;
  store_close(s);
  return NULL;
}

void store_close(struct store *s) {
  if (!s) return;
  sqlite3_close(s->db);
  free(s->path);
  free(s);
}

int store_token_put(struct store *s, const struct store_token *token, struct error *err) {
  assert(token->name[0] && memchr(token->name, '\0', sizeof token->name));
  sqlite3_stmt *st = NULL;
  const char *sql =
      "insert into token (name, hash, created_s) values (?1, ?2, ?3) "
      "on conflict (name) do update set hash = excluded.hash, created_s = excluded.created_s";
  int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
  if (rc == SQLITE_OK) {
    sqlite3_bind_text(st, 1, token->name, -1, SQLITE_STATIC);
    sqlite3_bind_blob(st, 2, token->hash, STORE_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, token->created_s);
    rc = sqlite3_step(st);
  }
  int result = rc == SQLITE_DONE ? 0 : fail(s, err, "keep a token");
  sqlite3_finalize(st);
  return result;
}

/* The table's checks hold for what was written here; the file may have been edited by hand. */
static int read_token(const struct store *s, sqlite3_stmt *st, struct store_token *out, struct error *err) {
  const char *name = (const char *)sqlite3_column_text(st, 0);
  const void *hash = sqlite3_column_blob(st, 1);
  if (!name || strlen(name) >= sizeof out->name || !hash || sqlite3_column_bytes(st, 1) != STORE_HASH_BYTES)
    return error_set(err, ERROR_CORRUPT, "\"%s\" holds a token of the wrong form. Restore the file from a copy, or move it away.", s->path);
  memset(out, 0, sizeof *out);
  snprintf(out->name, sizeof out->name, "%s", name);
  memcpy(out->hash, hash, STORE_HASH_BYTES);
  out->created_s = sqlite3_column_int64(st, 2);
  return 0;
}

int store_token_get(struct store *s, const char *name, struct store_token *ret_token, struct error *err) {
  sqlite3_stmt *st = NULL;
  int rc = sqlite3_prepare_v2(s->db, "select name, hash, created_s from token where name = ?1", -1, &st, NULL);
  if (rc == SQLITE_OK) {
    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    rc = sqlite3_step(st);
  }
  int result = 0;
  if (rc == SQLITE_ROW) {
    result = read_token(s, st, ret_token, err) == 0 ? 1 : -1;
  } else if (rc != SQLITE_DONE) {
    result = fail(s, err, "read a token");
  }
  sqlite3_finalize(st);
  return result;
}

int store_token_each(struct store *s, void (*fn)(void *arg, const struct store_token *token), void *arg, struct error *err) {
  sqlite3_stmt *st = NULL;
  int rc = sqlite3_prepare_v2(s->db, "select name, hash, created_s from token order by name", -1, &st, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(st);
  int result = 0;
  for (; rc == SQLITE_ROW && result == 0; rc = sqlite3_step(st)) {
    struct store_token token;
    result = read_token(s, st, &token, err);
    if (result == 0) fn(arg, &token);
  }
  if (result == 0 && rc != SQLITE_DONE) result = fail(s, err, "read the tokens");
  sqlite3_finalize(st);
  return result;
}
