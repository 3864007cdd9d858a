# Run with `make iac-check`; the provider is mocked, so nothing is made and no account is asked for.

mock_provider "google" {}

variables {
  project_id  = "my-project-id"
  region      = "europe-west1"
  network     = "projects/my-project-id/global/networks/cluster"
  subnetworks = ["projects/my-project-id/regions/europe-west1/subnetworks/cluster"]
  members     = { cache = "serviceAccount:cache@my-project-id.iam.gserviceaccount.com" }
}

run "an_instance_is_closed_and_encrypted" {
  command = plan

  assert {
    condition     = google_memorystore_instance.this.transit_encryption_mode == "SERVER_AUTHENTICATION"
    error_message = "Connections must be encrypted."
  }
  assert {
    condition     = google_memorystore_instance.this.authorization_mode == "IAM_AUTH"
    error_message = "Clients must show who they are by default."
  }
  assert {
    condition     = google_project_iam_member.connect["cache"].condition[0].expression == "resource.name == \"projects/my-project-id/locations/europe-west1/instances/contentfactory\""
    error_message = "A member may connect to this instance alone."
  }
}

run "nothing_is_kept" {
  command = plan

  assert {
    condition     = google_memorystore_instance.this.persistence_config[0].mode == "DISABLED"
    error_message = "Firestore is the truth; a disk behind Valkey would only be a second one."
  }
  assert {
    condition     = google_memorystore_instance.this.engine_configs["maxmemory-policy"] == "allkeys-lru"
    error_message = "Full memory must drop old keys, not refuse new ones."
  }
}

run "an_existing_policy_is_left_alone" {
  command = plan
  variables {
    create_connection_policy = false
  }
  assert {
    condition     = length(google_network_connectivity_service_connection_policy.this) == 0
    error_message = "A network has one policy per region; a second one fails."
  }
}

run "without_authorization_nobody_needs_a_role" {
  command = plan
  variables {
    authorization_mode = "AUTH_DISABLED"
  }
  assert {
    condition     = length(google_project_iam_member.connect) == 0
    error_message = "A role that nothing checks must not be given."
  }
}

run "a_node_type_is_one" {
  command = plan
  variables {
    node_type = "M3"
  }
  expect_failures = [var.node_type]
}

run "a_network_is_written_in_full" {
  command = plan
  variables {
    network = "cluster"
  }
  expect_failures = [var.network]
}

run "an_endpoint_needs_a_subnetwork" {
  command = plan
  variables {
    subnetworks = []
  }
  expect_failures = [var.subnetworks]
}

run "replicas_are_few" {
  command = plan
  variables {
    replica_count = 6
  }
  expect_failures = [var.replica_count]
}
