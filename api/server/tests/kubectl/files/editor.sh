#!/bin/sh
# An editor that replaces words: EDIT is a sed program.
sed -i "$EDIT" "$1"
