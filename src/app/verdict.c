/* verdict: see verdict.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/verdict.h"

const char *verdict_word(const struct manifest *m, const char *changed) {
  if (!m) return "-";
  return changed ? "changed" : manifest_verdict_name(m->verdict);
}

void verdict_write(struct jsonw *w, const struct manifest *m, const char *changed) {
  jsonw_key_cstr(w, "verdict", verdict_word(m, changed));
  if (changed) jsonw_key_cstr(w, "changed", changed);
  if (m->verified_by && !changed) jsonw_key_cstr(w, "verified_by", m->verified_by);
  if (m->base) jsonw_key_cstr(w, "base", m->base);
  if (m->source) jsonw_key_cstr(w, "source", m->source);
  if (m->revision) jsonw_key_cstr(w, "revision", m->revision);
  if (m->commit) jsonw_key_cstr(w, "commit", m->commit);
  jsonw_key_int(w, "imported_at_s", m->imported_s);
  jsonw_key(w, "fingerprints");
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "weights", m->weights);
  jsonw_key_cstr(w, "tokenizer", m->tokenizer);
  jsonw_key_cstr(w, "chat_template", m->chat_template);
  jsonw_object_end(w);
}
