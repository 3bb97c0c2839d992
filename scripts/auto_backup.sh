#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/levqor" backup create --automatic "$@"   # Named and counted like the daily ones
