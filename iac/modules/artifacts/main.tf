# Where the four services' images are kept, and for how long.

resource "google_artifact_registry_repository" "this" {
  #checkov:skip=CKV_GCP_84:images hold no secrets and no customer's data; Google's own key encrypts them, kms_key_name takes another
  project       = var.project_id
  location      = var.location
  repository_id = var.repository_id
  description   = "Images of the content factory's services."
  format        = "DOCKER"
  kms_key_name  = var.kms_key_name

  docker_config {
    # A tag that can be moved makes a rollback a guess. What is deployed should be named by digest all the same.
    immutable_tags = var.immutable_tags
  }

  cleanup_policy_dry_run = var.cleanup_dry_run

  # Keeping wins over deleting: the newest stay however old they are.
  cleanup_policies {
    id     = "keep-the-newest"
    action = "KEEP"

    most_recent_versions {
      keep_count = var.keep_count
    }
  }

  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"

    condition {
      tag_state  = "UNTAGGED"
      older_than = "${var.untagged_days * 86400}s"
    }
  }

  # Google deletes no tagged image of a repository whose tags are immutable; this is for the others.
  dynamic "cleanup_policies" {
    for_each = var.immutable_tags ? [] : [var.tagged_days]

    content {
      id     = "delete-old"
      action = "DELETE"

      condition {
        tag_state  = "TAGGED"
        older_than = "${cleanup_policies.value * 86400}s"
      }
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each = var.readers

  project    = var.project_id
  location   = google_artifact_registry_repository.this.location
  repository = google_artifact_registry_repository.this.name
  role       = "roles/artifactregistry.reader"
  member     = each.value
}
