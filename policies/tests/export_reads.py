"""An exported policy in onnxruntime, and its weights in numpy as docs/exporting.md reads them, against surefoot's own actions.

    python3 policies/tests/export_reads.py POLICY_DIRECTORY MODEL.onnx
"""

import os
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

policy, model = (Path(p).resolve() for p in sys.argv[1:3])
onnx.checker.check_model(onnx.load(model), full_check=True)
blocks = re.findall(r"```python\n(.*?)```", Path("docs/exporting.md").read_text(), re.S)
# The examples of the page stand in its directory and name its files.
os.chdir(policy.parent)
first, second = blocks
page = {}
exec(first.replace("push.onnx", str(model)), page)
exec(second.replace("policy/policy", f"{policy}/policy"), page)
examples = page["examples"]
expected = np.float32(examples["action"])
by_weights = page["act"](np.float32(examples["observation"]))
worst = [float(np.abs(a - expected).max()) for a in (page["action"], by_weights)]
assert expected.shape == by_weights.shape and np.abs(expected).max() > 1e-3, expected
assert max(worst) < 1e-6, worst
print(f"onnxruntime {onnxruntime.__version__}: off by {worst[0]:.1e}; numpy: off by {worst[1]:.1e}")
