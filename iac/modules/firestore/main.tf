# One Firestore database for all four services, and how it can be brought back.
# Its indexes, TTL fields and index exemptions are in indexes.tf, which `iac/generate.py` writes.

resource "google_firestore_database" "this" {
  project     = var.project_id
  name        = var.database_name
  location_id = var.location
  type        = "FIRESTORE_NATIVE"

  # Enterprise bills 4 KiB read and 1 KiB write units; our chunks of hundreds of KiB are one unit each in Standard.
  database_edition = "STANDARD"

  # The services commit with preconditions and never hold server locks (docs/decisions/0070).
  concurrency_mode            = "OPTIMISTIC"
  app_engine_integration_mode = "DISABLED"

  point_in_time_recovery_enablement = var.point_in_time_recovery ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"

  # Two locks: Google refuses to delete, and Terraform would let go of the database rather than ask.
  delete_protection_state = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy         = var.deletion_protection ? "ABANDON" : "DELETE"
}

resource "google_firestore_backup_schedule" "daily" {
  count = var.daily_backup_retention_days > 0 ? 1 : 0

  project   = var.project_id
  database  = google_firestore_database.this.name
  retention = "${var.daily_backup_retention_days * 86400}s"

  daily_recurrence {}
}

resource "google_firestore_backup_schedule" "weekly" {
  count = var.weekly_backup_retention_days > 0 ? 1 : 0

  project   = var.project_id
  database  = google_firestore_database.this.name
  retention = "${var.weekly_backup_retention_days * 86400}s"

  weekly_recurrence {
    day = var.weekly_backup_day
  }
}
