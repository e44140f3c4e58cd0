"""A chat with OpenAI's client, streamed. PLINTH_URL and PLINTH_TOKEN say where and who. SPDX-License-Identifier: Apache-2.0"""
import os

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("PLINTH_URL", "http://127.0.0.1:8080") + "/v1", api_key=os.environ["PLINTH_TOKEN"])
stream = client.chat.completions.create(model="smollm2-135m-instruct", messages=[{"role": "user", "content": "Name three rivers."}], max_tokens=64, stream=True)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
