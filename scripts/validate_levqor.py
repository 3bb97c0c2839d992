#!/usr/bin/env python3
import os, sys; os.execv(p := os.path.join(os.path.dirname(os.path.realpath(__file__)), "levqor"), [p, "validate", *sys.argv[1:]])
