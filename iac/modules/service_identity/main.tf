# One Google account per service: it may use documents of one database, and only that service's pods may be it.
# There are no keys: a pod proves who it is to the cluster's metadata server (Workload Identity Federation for GKE).

locals {
  pool = coalesce(var.workload_identity_pool, "${var.project_id}.svc.id.goog")
}

resource "google_service_account" "this" {
  for_each = var.services

  project      = var.project_id
  account_id   = "${var.account_prefix}-${each.key}"
  display_name = "Content factory: ${each.key}"
  description  = "What the pods of ${var.namespace}/${each.key} are; reads and writes documents of ${var.database_name}."
}

resource "google_project_iam_member" "documents" {
  for_each = var.services

  project = var.project_id
  # Reads, writes and queries documents. No indexes, no backups, no deleting of databases.
  role   = "roles/datastore.user"
  member = google_service_account.this[each.key].member

  condition {
    title       = "only-${var.database_name}"
    description = "Documents of this one database, none of the project's others."
    expression  = "resource.name == \"projects/${var.project_id}/databases/${var.database_name}\""
  }
}

resource "google_service_account_iam_member" "pod" {
  for_each = var.bind_pods ? var.services : toset([])

  service_account_id = google_service_account.this[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${local.pool}[${var.namespace}/${each.key}]"
}
