/* models: `plinth models` lists what a models folder holds, looks at it again, renames and removes; and has a running server load and unload.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/about.h"
#include "app/app.h"
#include "app/data_dir.h"
#include "app/interrupt.h"
#include "app/paths.h"
#include "app/remote.h"
#include "app/verdict.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "intake/intake.h"

struct models_args {
  bool json, check;
  const char *models_dir, *url, *data_dir;
};

static const struct options_row rows[] = {
    {.name = "json", OPTION_BOOL_TO(struct models_args, json), .help = "Print a JSON array."},
    PATHS_MODELS_DIR_ROW(struct models_args, models_dir, "The folder to list."),
    {.name = "check",
     OPTION_BOOL_TO(struct models_args, check),
     .help =
         "Read every byte and compare it with the hashes that the import wrote down. A model that was put there by hand is examined as an "
         "import would, and gets its plinth.json."},
    {.name = "url",
     OPTION_STRING_TO(struct models_args, url),
     .metavar = "URL",
     .fallback = "http://127.0.0.1:8080",
     .env = "PLINTH_URL",
     .help = "The server that load and unload speak with."},
    {.name = "data-dir",
     OPTION_STRING_TO(struct models_args, data_dir),
     .metavar = "DIR",
     .fallback_note = "${XDG_DATA_HOME:-~/.local/share}/plinth/data",
     .env = "PLINTH_DATA_DIR",
     .help = "For load and unload: the data folder of the server, whose admin token is used when PLINTH_TOKEN is not set."},
};

/* One line of the list. */
struct entry {
  const struct paths_model *model;
  struct about about; /* empty when it did not open */
  struct error broken;
  const char *trouble; /* NULL: ready */
  bool adapter, has_manifest;
  struct manifest manifest;
  const char *changed; /* the first file that is not as the manifest says */
  char *found;         /* by --check: what differs, owned */
};

static bool cancelled(void *arg) {
  (void)arg;
  return interrupt_pending();
}

/* What the manifest says: looked at quickly (size and time), or every byte. */
static void read_verdict(struct entry *e, bool check) {
  struct error err = {0};
  if (check && e->about.file) {
    int result = intake_recheck(e->model->path, 0, cancelled, NULL, &e->manifest, &e->found, &err);
    e->has_manifest = result >= 0 && e->manifest.n_files > 0;
    if (result == 0 && e->has_manifest) e->changed = e->found;
    else if (result == 0 && !e->trouble) e->trouble = e->found;
  } else {
    e->has_manifest = manifest_read(e->model->path, &e->manifest, &err) == 1;
    e->changed = e->has_manifest ? manifest_changed(&e->manifest, e->model->path) : NULL;
  }
  if (!err.code || e->trouble) return;
  e->broken = err;
  e->trouble = e->broken.message;
}

/* An adapter is no model of its own: its base has the figures. */
static bool read_adapter(struct entry *e) {
  if (!file_is_adapter(e->model->path)) return false;
  struct file_adapter *file = file_adapter_open(e->model->path, &e->broken);
  if (!file) e->trouble = e->broken.message;
  file_adapter_close(file);
  return true;
}

static void read_entry(struct entry *e, const struct paths_models *models, size_t i, bool check) {
  *e = (struct entry){.model = &models->items[i]};
  bool twice = (i > 0 && strcmp(e->model->name, models->items[i - 1].name) == 0) ||
               (i + 1 < models->n && strcmp(e->model->name, models->items[i + 1].name) == 0);
  if (read_adapter(e)) {
    e->adapter = true;
  } else if (about_open(&e->about, e->model->path, KV_F16, &e->broken) < 0) {
    e->trouble = e->broken.message;
  } else if (twice) {
    error_set(&e->broken, ERROR_INVALID, "Another file or folder has the same name; rename one of them.");
    e->trouble = e->broken.message;
  } else {
    e->trouble = about_trouble(&e->about);
  }
  read_verdict(e, check);
}

static void free_entry(struct entry *e) {
  about_close(&e->about);
  manifest_free(&e->manifest);
  free(e->found);
}

static const char *task_of(const struct entry *e) { return e->adapter ? "adapter" : e->about.file ? about_task(&e->about) : "-"; }

static void add_line(struct buf *out, const struct entry *e, int width) {
  struct buf name = {0}, size = {0}, window = {0};
  about_add_text(&name, slice_cstr(e->model->name));
  if (e->about.file) about_add_bytes(&size, e->about.file_bytes);
  else buf_add_cstr(&size, "-");
  if (e->about.known) about_add_count(&window, e->about.info.context_tokens);
  else buf_add_cstr(&window, "-");
  buf_printf(out, "%-*s  %-11s  %10s  %9s  %-10s  ", width, name.data ? name.data : "", task_of(e), size.data, window.data,
             verdict_word(e->has_manifest ? &e->manifest : NULL, e->changed));
  about_add_text(out, e->trouble ? slice_cstr(e->trouble) : SLICE("ready"));
  if (e->changed) {
    buf_add_cstr(out, " (not as it was imported: ");
    about_add_text(out, slice_cstr(e->changed));
    buf_add_byte(out, ')');
  }
  buf_add_byte(out, '\n');
  buf_free(&name);
  buf_free(&size);
  buf_free(&window);
}

static void write_entry(struct jsonw *w, const struct entry *e) {
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "name", e->model->name);
  jsonw_key_cstr(w, "path", e->model->path);
  jsonw_key_cstr(w, "state", e->trouble ? "unusable" : "ready");
  if (e->trouble) jsonw_key_cstr(w, "trouble", e->trouble);
  if (e->about.known) {
    jsonw_key_cstr(w, "task", about_task(&e->about));
    jsonw_key_int(w, "context_tokens", (int64_t)e->about.info.context_tokens);
  }
  if (e->adapter) jsonw_key_cstr(w, "task", "adapter");
  if (e->about.file) jsonw_key_int(w, "file_bytes", (int64_t)e->about.file_bytes);
  if (e->has_manifest) verdict_write(w, &e->manifest, e->changed);
  jsonw_object_end(w);
}

static int list(const char *dir, const struct paths_models *models, bool json, bool check) {
  bool differs = false;
  struct buf text = {0};
  struct jsonw w = {.out = &text};
  int width = 4;
  for (size_t i = 0; i < models->n; i++)
    if ((int)strlen(models->items[i].name) > width) width = (int)strlen(models->items[i].name);
  if (json) jsonw_array_begin(&w);
  else if (models->n) buf_printf(&text, "%-*s  %-11s  %10s  %9s  %-10s  %s\n", width, "NAME", "TASK", "SIZE", "WINDOW", "VERDICT", "STATE");
  else buf_printf(&text, "There is no model in %s.\n", dir);
  for (size_t i = 0; i < models->n; i++) {
    struct entry e;
    read_entry(&e, models, i, check);
    if (json) write_entry(&w, &e);
    else add_line(&text, &e, width);
    differs |= check && (e.changed || e.trouble);
    free_entry(&e);
  }
  if (json) jsonw_array_end(&w), buf_add_byte(&text, '\n');
  int code = app_print(&text);
  buf_free(&text);
  return code == APP_OK && differs ? APP_FAILED : code;
}

/* ---- load and unload ---- */

enum { POLL_MS = 100, TOKEN_BYTES_MAX = 4096 };

/* The admin token of this machine goes to a server of this machine alone. */
static bool is_local(const char *url) {
  static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]"};
  const char *host = strstr(url, "://");
  host = host ? host + 3 : url;
  for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
    size_t n = strlen(hosts[i]);
    if (strncmp(host, hosts[i], n) == 0 && strchr(":/", host[n])) return true; /* or at its end */
  }
  return false;
}

static void take_token(const struct models_args *a) {
  char *dir = data_dir_path(a->data_dir), *path = data_dir_token_path(dir);
  struct buf text = {0};
  if (!getenv("PLINTH_TOKEN") && is_local(a->url) && fs_read(path, TOKEN_BYTES_MAX, &text, NULL) == 0) {
    buf_add_byte(&text, '\0');
    text.data[strcspn(text.data, "\r\n")] = '\0';
    setenv("PLINTH_TOKEN", text.data, 1);
  }
  buf_free(&text);
  free(path);
  free(dir);
}

/* The name as a segment of a path. */
static void add_segment(struct buf *out, const char *name) {
  for (; *name; name++) {
    bool plain = (*name >= '0' && *name <= '9') || ((*name | 32) >= 'a' && (*name | 32) <= 'z') || strchr("-._~", *name);
    if (plain) buf_add_byte(out, (unsigned char)*name);
    else buf_printf(out, "%%%02X", (unsigned char)*name);
  }
}

static bool has_deployment(const struct js *endpoint, const char *wanted, struct slice *ret_message) {
  struct slice deployment;
  const struct js *state = js_get(js_at(js_get(js_get(endpoint, "config"), "served_entities"), 0), "state");
  js_str(js_get(state, "deployment_state_message"), ret_message);
  return js_str(js_get(state, "deployment"), &deployment) && slice_eq(deployment, slice_cstr(wanted));
}

/* 1: it is as wanted; 0: not yet; -1: it will not be. */
static int look_at_endpoint(const struct js *endpoint, bool loads, struct error *err) {
  struct slice message = {0};
  if (has_deployment(endpoint, loads ? "DEPLOYMENT_READY" : "DEPLOYMENT_ABORTED", &message)) return 1;
  if (!has_deployment(endpoint, "DEPLOYMENT_FAILED", &message)) return 0;
  return error_set(err, ERROR_UNAVAILABLE, "%.*s", SLICE_ARG(message));
}

static int change_server(const struct models_args *a, const char *verb, const char *name) {
  struct buf change = {0}, endpoint = {0}, text = {0};
  struct error err = {0};
  const struct slice nothing = SLICE("{}");
  bool loads = strcmp(verb, "load") == 0;
  interrupt_catch();
  take_token(a);
  buf_add_cstr(&change, "api/2.0/plinth/models/");
  add_segment(&change, name);
  buf_printf(&change, "/%s", verb);
  buf_add_cstr(&endpoint, "api/2.0/serving-endpoints/");
  add_segment(&endpoint, name);
  struct js *answer = remote_ask(a->url, change.data, &nothing, &err);
  int state = answer ? look_at_endpoint(answer, loads, &err) : -1;
  while (state == 0 && !interrupt_pending()) {
    js_free(answer);
    nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    answer = remote_ask(a->url, endpoint.data, NULL, &err);
    state = answer ? look_at_endpoint(answer, loads, &err) : -1;
  }
  js_free(answer);
  if (state > 0) buf_printf(&text, "%s is %s.\n", name, loads ? "loaded" : "unloaded");
  int code = state > 0 ? app_print(&text) : state < 0 ? app_fail(&err) : APP_FAILED;
  buf_free(&change);
  buf_free(&endpoint);
  buf_free(&text);
  return code;
}

/* ---- rm and rename ---- */

static int change(const char *dir, const struct options *o) {
  struct error err = {0};
  const char *verb = o->operands[0];
  bool renames = strcmp(verb, "rename") == 0, asks = strcmp(verb, "load") == 0 || strcmp(verb, "unload") == 0;
  size_t wanted = renames ? 3 : 2;
  if (!renames && !asks && strcmp(verb, "rm") != 0) {
    error_set(&err, ERROR_INVALID, "There is no \"plinth models %s\"; there are rm NAME, rename NAME NEW, load NAME and unload NAME.",
              verb);
    return app_usage("models", &err);
  }
  if (o->n_operands != wanted) {
    error_set(&err, ERROR_INVALID, "Write \"plinth models %s NAME%s\".", verb, renames ? " NEW" : "");
    return app_usage("models", &err);
  }
  if (asks) return change_server(o->args, verb, o->operands[1]);
  char *path = paths_find_in(dir, o->operands[1], &err);
  int result = !path ? -1 : renames ? intake_rename(path, dir, o->operands[2], &err) : intake_remove(dir, path, &err);
  free(path);
  return result < 0 ? app_fail(&err) : APP_OK;
}

static int run(const struct options *o) {
  const struct models_args *a = o->args;
  char *dir = a->models_dir ? NULL : paths_models_dir();
  const char *path = dir ? dir : a->models_dir;
  struct paths_models models;
  struct error err;
  int code;
  if (a->check) interrupt_catch();
  if (o->n_operands) {
    code = change(path, o);
  } else if (paths_list(path, &models, &err) < 0) {
    code = app_fail(&err);
  } else {
    code = list(path, &models, a->json, a->check);
    paths_list_free(&models);
  }
  free(dir);
  return code;
}

const struct app_command models_command = {
    .spec = {.command = "models",
             .operands = "rm NAME | rename NAME NEW | load NAME | unload NAME",
             .operands_max = 3,
             .summary = "List, check, rename, remove, load or unload models",
             .description =
                 "Lists the models of a folder: name of the endpoint, task, size on disk, window in tokens, verdict of the "
                 "import, and whether the "
                 "model can be served. A folder holds one folder for each model, or .gguf files; an endpoint is named as the "
                 "folder, or as the file "
                 "without .gguf.\n\n"
                 "The verdict is \"verified\" when reference vectors matched or the catalogue knows every byte, else "
                 "\"unverified\"; \"changed\" when a "
                 "file is not as it was then (by size and time; --check reads every byte, and the exit code is 1 when something "
                 "differs); \"-\" for a "
                 "model that was put there by hand.\n\n"
                 "\"rm\" removes a model for good; \"rename\" gives it another name. A running server notices within a few seconds, "
                 "as it does what is imported: no restart is needed.\n\n"
                 "\"unload\" has a running server give a model's memory back: its requests under way may end, the endpoint stays "
                 "and answers that it is stopped. \"load\" loads it again, also one that failed, and waits until it is ready.",
             .examples = "plinth models\nplinth models --models-dir /srv/models --json\nplinth models --check\nplinth models rm "
                         "old-model\nplinth models unload big-model",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct models_args)},
    .run = run,
};
