"""One peer in a process of its own, for bench/compare: reads a JSON object a line, answers with one. SPDX-License-Identifier: Apache-2.0

    worker.py vllm|openvino|sentence-transformers MODEL --threads N

{"work": "generate", "streams": N, "prompt": P, "tokens": D}  ->  {"seconds": S}: N prompts of P token ids, each to D tokens behind them, greedy, without an end.
{"work": "embed", "texts": [...]}                              ->  {"seconds": S}
A work is run once before it is timed, so that compilation and first touches are not counted. What the peer prints goes to standard error.
"""
import argparse, json, os, pathlib, sys, time


def token_ids(stream, n, vocabulary):
    return [(i * 7919 + stream * 104729 + 11) % (vocabulary - 100) + 50 for i in range(n)]


class Vllm:
    """vLLM's engine in this process, without its prefix cache: what is asked for is computed."""

    def __init__(self, folder, threads):
        os.environ.update(VLLM_CPU_KVCACHE_SPACE="2", VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1",
                          VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="WARNING", VLLM_ENABLE_V1_MULTIPROCESSING="0")
        from vllm import LLM, SamplingParams
        self.params = SamplingParams
        self.vocabulary = json.loads((pathlib.Path(folder) / "config.json").read_text())["vocab_size"]
        self.llm = LLM(folder, dtype="bfloat16", max_model_len=2048, enable_prefix_caching=False, max_num_seqs=64, max_num_batched_tokens=4096)

    def generate(self, streams, prompt, tokens):
        prompts = [{"prompt_token_ids": token_ids(s, prompt, self.vocabulary)} for s in range(streams)]
        self.llm.generate(prompts, self.params(max_tokens=tokens, ignore_eos=True, temperature=0), use_tqdm=False)


class Openvino:
    """OpenVINO GenAI reads GGUF files itself; its continuous batching takes the streams together."""

    def __init__(self, gguf, threads):
        import numpy, openvino, openvino_genai
        self.numpy, self.ov, self.genai = numpy, openvino, openvino_genai
        self.vocabulary = 32000  # ids below it exist in every vocabulary that is measured
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size, scheduler.max_num_seqs, scheduler.enable_prefix_caching = 2, 64, False
        self.pipe = openvino_genai.LLMPipeline(gguf, "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=threads)

    def generate(self, streams, prompt, tokens):
        ids = self.numpy.array([token_ids(s, prompt, self.vocabulary) for s in range(streams)], dtype=self.numpy.int64)
        inputs = self.genai.TokenizedInputs(self.ov.Tensor(ids), self.ov.Tensor(self.numpy.ones_like(ids)))
        self.pipe.generate(inputs, max_new_tokens=tokens, ignore_eos=True, do_sample=False)


class SentenceTransformers:
    def __init__(self, folder, threads):
        import torch
        torch.set_num_threads(threads)
        from sentence_transformers import SentenceTransformer
        self.model = SentenceTransformer(folder, device="cpu", local_files_only=True)

    def embed(self, texts):
        self.model.encode(texts, batch_size=len(texts), show_progress_bar=False)


PEERS = {"vllm": Vllm, "openvino": Openvino, "sentence-transformers": SentenceTransformers}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("peer", choices=PEERS)
    options.add_argument("model")
    options.add_argument("--threads", type=int, required=True)
    args = options.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = PEERS[args.peer](args.model, args.threads)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    known = set()
    for line in sys.stdin:
        ask = json.loads(line)
        run, key = getattr(peer, ask.pop("work")), line
        if key not in known:
            run(**ask)
            known.add(key)
        begin = time.perf_counter()
        run(**ask)
        print(json.dumps({"seconds": time.perf_counter() - begin}), file=answers, flush=True)


if __name__ == "__main__":
    main()
