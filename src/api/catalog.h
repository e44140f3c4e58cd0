/* catalog: what is served, as OpenAI's list of models and as Databricks' list of serving endpoints; read only. Private to api.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CATALOG_H
#define API_CATALOG_H
#include "api/private.h"

void catalog_models(const struct serving *s, struct buf *out);
void catalog_model(const struct endpoint *e, struct buf *out);
void catalog_endpoints(const struct serving *s, struct buf *out);
void catalog_endpoint(const struct endpoint *e, struct buf *out);

#endif
