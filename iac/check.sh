#!/usr/bin/env bash
# What `make iac-check` runs: form, then every folder validated by terraform, then every test with the provider mocked.
# The google provider is a stand-in that knows the arguments of its resources (iac/standin); no account, no network
# beyond the Go modules it is built from. Needs terraform >= 1.9 and Go.
set -euo pipefail
cd "$(dirname "$0")"
build="$(dirname "$PWD")/build/iac"
mkdir -p "$build/bin"

for program in terraform go; do
    command -v "$program" > /dev/null || { echo "make iac-check needs $program on the PATH" >&2; exit 1; }
done

printf 'provider_installation {\n  dev_overrides {\n    "hashicorp/google" = "%s"\n  }\n}\n' "$build/bin" > "$build/cli.tfrc"
export TF_CLI_CONFIG_FILE="$build/cli.tfrc" CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1

echo "-- terraform fmt"
terraform fmt -check -recursive -diff . || {
    echo "these files are not in Terraform's form: run 'terraform fmt -recursive iac'" >&2
    exit 1
}

echo "-- the stand-in"
(cd standin && go build -trimpath -o "$build/bin/terraform-provider-google" .)

for folder in modules/* modules/*/examples/* environments/*; do
    echo "-- $folder"
    export TF_DATA_DIR="$build/data/$folder"
    terraform -chdir="$folder" get > /dev/null
    terraform -chdir="$folder" validate -no-color > "$build/validate.txt" 2>&1 || { cat "$build/validate.txt" >&2; exit 1; }
    if [ -d "$folder/tests" ]; then
        terraform -chdir="$folder" test -no-color > "$build/test.txt" 2>&1 || { cat "$build/test.txt" >&2; exit 1; }
        grep -E '^(Success|Failure)' "$build/test.txt"
    else
        echo "valid"
    fi
done
