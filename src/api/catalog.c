/* catalog: see catalog.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/catalog.h"

#include "base/jsonw.h"

static void write_text(struct jsonw *w, const char *key, const char *text) {
  if (text) jsonw_key_cstr(w, key, text);
}

/* What the import found: a field of our own, which clients of the APIs leave alone. */
static void write_origin(const struct endpoint *e, struct jsonw *w) {
  const struct endpoint_origin *o = e->origin;
  jsonw_key(w, "plinth");
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "verdict", o ? o->verdict : NULL);
  if (o) {
    write_text(w, "verified_by", o->verified_by);
    write_text(w, "source", o->source);
    write_text(w, "revision", o->revision);
    write_text(w, "commit", o->commit);
    jsonw_key_int(w, "imported_at", o->imported_s);
    jsonw_key(w, "fingerprints");
    jsonw_object_begin(w);
    jsonw_key_cstr(w, "weights", o->weights);
    jsonw_key_cstr(w, "tokenizer", o->tokenizer);
    jsonw_key_cstr(w, "chat_template", o->chat_template);
    jsonw_object_end(w);
  }
  jsonw_object_end(w);
}

static void write_model(const struct endpoint *e, bool full, struct jsonw *w) {
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "id", e->name);
  jsonw_key_cstr(w, "object", "model");
  jsonw_key_int(w, "created", e->created_s);
  jsonw_key_cstr(w, "owned_by", "plinth");
  jsonw_key_cstr(w, "task", serving_task_name(e->task));
  jsonw_key_int(w, "context_length", (int64_t)e->context_tokens);
  jsonw_key_bool(w, "ready", e->state == SERVING_READY);
  if (full) write_origin(e, w);
  jsonw_object_end(w);
}

void catalog_model(const struct endpoint *e, struct buf *out) {
  struct jsonw w = {.out = out};
  write_model(e, true, &w);
}

void catalog_models(const struct serving *s, struct buf *out) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "object", "list");
  jsonw_key(&w, "data");
  jsonw_array_begin(&w);
  for (size_t i = 0; i < serving_n_endpoints(s); i++) write_model(serving_endpoint_at(s, i), false, &w);
  jsonw_array_end(&w);
  jsonw_object_end(&w);
}

/* A stable id of 32 hex digits made from the name (FNV-1a, 128 bits). */
static void endpoint_id(const char *name, char out[33]) {
  unsigned __int128 h = (unsigned __int128)0x6c62272e07bb0142u << 64 | 0x62b821756295c58du;
  const unsigned __int128 prime = (unsigned __int128)0x1000000u << 64 | 0x13bu;
  for (; *name; name++) h = (h ^ (unsigned char)*name) * prime;
  for (int i = 31; i >= 0; i--, h >>= 4) out[i] = "0123456789abcdef"[(unsigned)(h & 15)];
  out[32] = '\0';
}

static const char *deployment(enum serving_state state) {
  if (state == SERVING_READY) return "DEPLOYMENT_READY";
  if (state == SERVING_STOPPED) return "DEPLOYMENT_ABORTED";
  return state == SERVING_LOADING ? "DEPLOYMENT_CREATING" : "DEPLOYMENT_FAILED";
}

static void write_entity(const struct endpoint *e, struct jsonw *w) {
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "name", e->name);
  jsonw_key_cstr(w, "entity_name", e->name);
  jsonw_key_cstr(w, "entity_version", "1");
  jsonw_key_cstr(w, "type", "FOUNDATION_MODEL");
  jsonw_key_cstr(w, "creator", "admin");
  jsonw_key_int(w, "creation_timestamp", e->created_s * 1000);
  jsonw_key(w, "foundation_model");
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "name", e->name);
  jsonw_key_cstr(w, "display_name", e->name);
  jsonw_key_cstr(w, "model_class", e->architecture);
  jsonw_object_end(w);
  jsonw_key(w, "state");
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "deployment", deployment(e->state));
  jsonw_key_cstr(w, "deployment_state_message", e->failure ? e->failure : e->state == SERVING_STOPPED ? "The model was unloaded." : "");
  jsonw_object_end(w);
  jsonw_object_end(w);
}

/* In a list the config has the entities alone; in full, the traffic too. */
static void write_config(const struct endpoint *e, bool full, struct jsonw *w) {
  jsonw_key(w, "config");
  jsonw_object_begin(w);
  jsonw_key(w, "served_entities");
  jsonw_array_begin(w);
  write_entity(e, w);
  jsonw_array_end(w);
  if (full) {
    jsonw_key(w, "traffic_config");
    jsonw_object_begin(w);
    jsonw_key(w, "routes");
    jsonw_array_begin(w);
    jsonw_object_begin(w);
    jsonw_key_cstr(w, "served_model_name", e->name);
    jsonw_key_int(w, "traffic_percentage", 100);
    jsonw_object_end(w);
    jsonw_array_end(w);
    jsonw_object_end(w);
    jsonw_key_int(w, "config_version", 1);
  }
  jsonw_object_end(w);
}

static void write_endpoint(const struct endpoint *e, bool full, struct jsonw *w) {
  char id[33];
  endpoint_id(e->name, id);
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "name", e->name);
  jsonw_key_cstr(w, "id", id);
  jsonw_key_cstr(w, "creator", "admin");
  jsonw_key_int(w, "creation_timestamp", e->created_s * 1000);
  jsonw_key_int(w, "last_updated_timestamp", e->created_s * 1000);
  jsonw_key(w, "state");
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "ready", e->state == SERVING_READY ? "READY" : "NOT_READY");
  jsonw_key_cstr(w, "config_update", "NOT_UPDATING");
  jsonw_object_end(w);
  write_config(e, full, w);
  jsonw_key_cstr(w, "task", serving_task_name(e->task));
  jsonw_key_cstr(w, "endpoint_type", "FOUNDATION_MODEL_API");
  jsonw_key_cstr(w, "permission_level", "CAN_MANAGE");
  jsonw_key(w, "tags");
  jsonw_array_begin(w);
  jsonw_array_end(w);
  if (full) write_origin(e, w);
  jsonw_object_end(w);
}

void catalog_endpoint(const struct endpoint *e, struct buf *out) {
  struct jsonw w = {.out = out};
  write_endpoint(e, true, &w);
}

void catalog_endpoints(const struct serving *s, struct buf *out) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  jsonw_key(&w, "endpoints");
  jsonw_array_begin(&w);
  for (size_t i = 0; i < serving_n_endpoints(s); i++) write_endpoint(serving_endpoint_at(s, i), false, &w);
  jsonw_array_end(&w);
  jsonw_object_end(&w);
}
