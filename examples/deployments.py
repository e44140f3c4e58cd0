"""MLflow's deployments client, as on Databricks. SPDX-License-Identifier: Apache-2.0"""
import os

os.environ["DATABRICKS_HOST"] = os.environ.get("PLINTH_URL", "http://127.0.0.1:8080")
os.environ["DATABRICKS_TOKEN"] = os.environ["PLINTH_TOKEN"]
from mlflow.deployments import get_deploy_client  # noqa: E402 (it reads the environment)

client = get_deploy_client("databricks")
for endpoint in client.list_endpoints():
    print(endpoint["name"], endpoint["task"], endpoint["state"]["ready"])
reply = client.predict(endpoint="smollm2-135m-instruct", inputs={"messages": [{"role": "user", "content": "Name three rivers."}], "max_tokens": 64})
print(reply["choices"][0]["message"]["content"])
