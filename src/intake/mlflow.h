/* mlflow: what an MLmodel file says about a model of the transformers flavor. Private to intake. SPDX-License-Identifier: Apache-2.0 */
#ifndef INTAKE_MLFLOW_H
#define INTAKE_MLFLOW_H
#include "base/error.h"
#include "base/slice.h"

/* Strings are owned; NULL where the file says nothing. */
struct mlflow {
  char *model;                         /* the folder with weights and config, inside the MLflow folder */
  char *tokenizer;                     /* the folder of the tokenizer, or NULL: it lies with the model */
  char *adapter;                       /* the folder of a PEFT adapter */
  char *source_name, *source_revision; /* where it came from on the hub */
  char *task;
};

/* Parses the text of MLmodel. A model without the flavor "transformers" (or "sentence_transformers") is refused with the flavors that it
 * has. mlflow_free in any case. */
int mlflow_parse(struct slice yaml, struct mlflow *ret, struct error *err);
void mlflow_free(struct mlflow *m);

#endif
