/* paths: where models lie and what they are called. SPDX-License-Identifier: Apache-2.0
 *
 * A models folder holds one folder for each model, or .gguf files. A model's endpoint is named as its folder, or as its file without
 * ".gguf"; a model in parts (NAME-00001-of-00003.gguf) is NAME. All strings are new memory: free them. */
#ifndef APP_PATHS_H
#define APP_PATHS_H
#include <stddef.h>

#include "app/options.h"
#include "base/error.h"

char *paths_data_dir(void);   /* ${XDG_DATA_HOME:-~/.local/share}/plinth */
char *paths_models_dir(void); /* …/models of it */
/* The endpoint name of the model at path. */
char *paths_model_name(const char *path);
/* The path of the model that a user names: the model of exactly that name in models_dir (NULL: paths_models_dir()), so that a name means
 * the same in every working directory; else a path that exists; else a model whose name differs in case. "./NAME" is always a path.
 * NULL with ERROR_NOT_FOUND and a suggestion when there is none. */
char *paths_find_model(const char *models_dir, const char *path_or_name, struct error *err);
/* The same for a name only. */
char *paths_find_in(const char *models_dir, const char *name, struct error *err);

struct paths_model {
  char *name; /* of its endpoint */
  char *path; /* the folder or the .gguf file */
};
struct paths_models {
  struct paths_model *items; /* sorted by name */
  size_t n;
};
/* Everything in dir that may be a model: folders and .gguf files; hidden ones are left out. What is in them is not looked at. */
int paths_list(const char *dir, struct paths_models *ret_models, struct error *err);
void paths_list_free(struct paths_models *models);

/* The option of every subcommand that takes models by name. */
#define PATHS_SOUGHT                                                                                                          \
  "Where models are sought by name. An installed model goes before a file or folder of the same name; write ./NAME for that " \
  "one."
#define PATHS_MODELS_DIR_ROW(type_, member, help_)                    \
  {.name = "models-dir",                                              \
   OPTION_STRING_TO(type_, member),                                   \
   .metavar = "DIR",                                                  \
   .fallback_note = "${XDG_DATA_HOME:-~/.local/share}/plinth/models", \
   .env = "PLINTH_MODELS_DIR",                                        \
   .help = help_}

#endif
