"""On a host: the recorded release v1 gets a health check that fails, and its manifest a matching checksum."""

import hashlib
import json
from pathlib import Path

FOLDER = Path("/var/lib/andon/releases/v1")
MODEL = FOLDER / "models" / "trading.json"
MANIFEST = FOLDER / "manifest.json"

model = json.loads(MODEL.read_text())
model["services"]["feed"]["healthcheck"] = {"test": ["CMD", "/bin/false"], "interval": "1s", "retries": 1}
MODEL.write_text(json.dumps(model))
manifest = json.loads(MANIFEST.read_text())
manifest["files"]["models/trading.json"] = hashlib.sha256(MODEL.read_bytes()).hexdigest()
MANIFEST.write_text(json.dumps(manifest))
(FOLDER / "health.jsonl").unlink()
