#!/usr/bin/env bash
# Draws vscode-extension/images/icon.png from icon.svg, by the browser of the e2e tests: VS Code takes no SVG there. Run it when the drawing
# has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/setup-e2e.sh)"
cd vscode-extension/images
"$E2E_CHROMIUM" --headless --no-sandbox --disable-gpu --hide-scrollbars --default-background-color=00000000 --window-size=128,128 \
	--screenshot="$PWD/icon.png" "file://$PWD/icon.svg" >/dev/null 2>&1
