# Run with `make iac-check`; the provider is mocked, so nothing is made and no account is asked for.

mock_provider "google" {}

variables {
  project_id = "my-project-id"
  region     = "europe-west1"
}

run "the_outputs_are_what_the_manifests_need" {
  command = plan

  assert {
    condition     = output.store_url == "firestore://my-project-id/contentfactory"
    error_message = "store_url must name this environment's database."
  }
  assert {
    condition     = toset(keys(output.service_accounts)) == toset(["cache", "optimizer", "processor", "tracker"])
    error_message = "Every service needs an account."
  }
  assert {
    condition     = output.image_prefix == "europe-west1-docker.pkg.dev/my-project-id/contentfactory"
    error_message = "Images must be in the cluster's region."
  }
}

run "production_is_backed_up" {
  command = plan

  assert {
    condition     = output.backup_schedules["daily"] == "604800s" && output.backup_schedules["weekly"] == "4838400s"
    error_message = "production must keep daily backups for 7 days and weekly ones for 8 weeks."
  }
}

run "without_valkey_there_is_none" {
  command = plan

  assert {
    condition     = length(module.valkey) == 0 && !contains(keys(google_project_service.this), "memorystore.googleapis.com")
    error_message = "Valkey is for those who ask for it."
  }
}

run "valkey_is_there_when_asked_for" {
  command = plan

  variables {
    valkey = {
      network     = "projects/my-project-id/global/networks/cluster"
      subnetworks = ["projects/my-project-id/regions/europe-west1/subnetworks/cluster"]
    }
  }

  assert {
    condition     = length(module.valkey) == 1 && contains(keys(google_project_service.this), "memorystore.googleapis.com")
    error_message = "The instance and the interface it is made with must be there."
  }
}

run "a_zone_is_no_region" {
  command = plan
  variables {
    region = "europe-west1-b"
  }
  expect_failures = [var.region]
}

run "a_project_number_is_no_project_id" {
  command = plan
  variables {
    project_id = "123456789012"
  }
  expect_failures = [var.project_id]
}
