# Run with `make iac-check`; the provider is mocked, so nothing is made and no account is asked for.

mock_provider "google" {}

variables {
  project_id = "my-project-id"
  location   = "europe-west1"
}

run "tags_stay_and_the_newest_are_kept" {
  command = plan

  assert {
    condition     = google_artifact_registry_repository.this.docker_config[0].immutable_tags
    error_message = "A tag must not be moved by default."
  }
  assert {
    condition     = toset([for each in google_artifact_registry_repository.this.cleanup_policies : each.id]) == toset(["keep-the-newest", "delete-untagged"])
    error_message = "With immutable tags there are two policies: one that keeps, one that deletes what has no tag."
  }
  assert {
    condition     = !google_artifact_registry_repository.this.cleanup_policy_dry_run
    error_message = "The policies must act by default."
  }
}

run "movable_tags_grow_old" {
  command = plan
  variables {
    immutable_tags = false
  }
  assert {
    condition     = one([for each in google_artifact_registry_repository.this.cleanup_policies : each.condition[0].older_than if each.id == "delete-old"]) == "7776000s"
    error_message = "Ninety days in seconds are 7776000s."
  }
}

run "readers_may_read" {
  command = plan
  variables {
    readers = ["serviceAccount:nodes@my-project-id.iam.gserviceaccount.com"]
  }
  assert {
    condition     = alltrue([for each in google_artifact_registry_repository_iam_member.reader : each.role == "roles/artifactregistry.reader"]) && length(google_artifact_registry_repository_iam_member.reader) == 1
    error_message = "A reader pulls images and nothing more."
  }
}

run "images_are_named_by_project_and_repository" {
  command = plan
  assert {
    condition     = output.image_prefix == "europe-west1-docker.pkg.dev/my-project-id/contentfactory"
    error_message = "image_prefix must be LOCATION-docker.pkg.dev/PROJECT/REPOSITORY."
  }
}

run "nobody_reads_in_public" {
  command = plan
  variables {
    readers = ["allUsers"]
  }
  expect_failures = [var.readers]
}

run "something_is_kept" {
  command = plan
  variables {
    keep_count = 0
  }
  expect_failures = [var.keep_count]
}
