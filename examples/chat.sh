#!/bin/sh
# A chat by curl, streamed. PLINTH_URL and PLINTH_TOKEN say where and who. SPDX-License-Identifier: Apache-2.0
set -eu
curl -sSN "${PLINTH_URL:-http://127.0.0.1:8080}/v1/chat/completions" \
  -H "Authorization: Bearer ${PLINTH_TOKEN:?the admin token: see ./dev run}" \
  -d '{"model": "smollm2-135m-instruct", "stream": true, "max_tokens": 64,
       "messages": [{"role": "user", "content": "Name three rivers."}]}'
