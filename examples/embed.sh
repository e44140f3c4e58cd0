#!/bin/sh
# Embeddings by curl, in the Databricks dialect. PLINTH_URL and PLINTH_TOKEN say where and who. SPDX-License-Identifier: Apache-2.0
set -eu
curl -sS "${PLINTH_URL:-http://127.0.0.1:8080}/serving-endpoints/all-minilm-l6-v2/invocations" \
  -u "token:${PLINTH_TOKEN:?the admin token: see ./dev run}" \
  -d '{"input": ["A river is a moving lake.", "Bread rises."]}'
