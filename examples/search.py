"""Which sentence is nearest to a question? With OpenAI's client. SPDX-License-Identifier: Apache-2.0"""
import os

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("PLINTH_URL", "http://127.0.0.1:8080") + "/v1", api_key=os.environ["PLINTH_TOKEN"])
sentences = ["Bread rises because yeast makes gas.", "The Danube flows into the Black Sea.", "A kite needs wind."]
vectors = [d.embedding for d in client.embeddings.create(model="all-minilm-l6-v2", input=["Where does the river end?", *sentences]).data]
question, rest = vectors[0], vectors[1:]
scores = [sum(a * b for a, b in zip(question, v)) for v in rest]  # the vectors have length 1
for score, sentence in sorted(zip(scores, sentences), reverse=True):
    print(f"{score:.3f}  {sentence}")
