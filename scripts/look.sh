#!/usr/bin/env bash
# Photographs pages of a running server in chromium: wide and narrow, light and dark. For eyes, not for CI.
# Usage: scripts/look.sh http://127.0.0.1:5000 [folder]
set -euo pipefail

base=${1:?the address of a running server}
folder=${2:-/tmp/levqor-look}
mkdir -p "$folder"

shoot() { # name path width colours
  local dark=()
  [ "$4" = dark ] && dark=(--blink-settings=preferredColorScheme=0)
  chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --log-level=3 "${dark[@]}" \
    --window-size="$3,1400" --screenshot="$folder/$1-$3-$4.png" "$base$2" 2>/dev/null
}

for colours in light dark; do
  for width in 390 1280; do
    shoot docs /public/docs/ "$width" "$colours"
    shoot api /public/docs/api "$width" "$colours"
    shoot reference /public/docs/reference "$width" "$colours"
    shoot post /public/blog/001-launch-story "$width" "$colours"
    shoot faq /public/faq/index.html "$width" "$colours"
  done
done
echo "$folder"
