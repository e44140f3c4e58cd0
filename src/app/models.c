/* models: `plinth models` lists what a models folder holds. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "app/app.h"
#include "app/paths.h"

struct models_args {
  const char *models_dir;
};

static const struct options_row rows[] = {
    {.name = "models-dir",
     OPTION_STRING_TO(struct models_args, models_dir),
     .metavar = "DIR",
     .fallback_note = "${XDG_DATA_HOME:-~/.local/share}/plinth/models",
     .env = "PLINTH_MODELS_DIR",
     .help = "The folder to list."},
};

static int run(const struct options *o) {
  const struct models_args *a = o->args;
  char *own = a->models_dir ? NULL : paths_models_dir();
  struct paths_models models;
  struct error err;
  int code = APP_OK;
  if (paths_list(a->models_dir ? a->models_dir : own, &models, &err) < 0) {
    code = app_fail(&err);
  } else {
    struct buf text = {0};
    for (size_t i = 0; i < models.n; i++) buf_printf(&text, "%s\n", models.items[i].name);
    code = app_print(&text);
    buf_free(&text);
    paths_list_free(&models);
  }
  free(own);
  return code;
}

const struct app_command models_command = {
    .spec = {.command = "models",
             .summary = "List the models of a folder",
             .description = "Lists the models of a folder with the names of their endpoints.",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct models_args)},
    .run = run,
};
