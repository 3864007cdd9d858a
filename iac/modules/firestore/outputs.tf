output "database_name" {
  description = "The database's id within its project; known once it exists."
  value       = google_firestore_database.this.name
}

output "database_id" {
  description = "The database's full resource name, projects/PROJECT/databases/DATABASE, as IAM conditions write it."
  value       = "projects/${var.project_id}/databases/${google_firestore_database.this.name}"
}

output "location" {
  description = "Where the documents are."
  value       = google_firestore_database.this.location_id
}

output "store_url" {
  description = "What STORE_URL is set to in every service: firestore://PROJECT/DATABASE."
  value       = "firestore://${var.project_id}/${google_firestore_database.this.name}"
}

output "backup_schedules" {
  description = "How long each kind of backup is kept, by recurrence; empty for a database without backups."
  value = merge(
    { for each in google_firestore_backup_schedule.daily : "daily" => each.retention },
    { for each in google_firestore_backup_schedule.weekly : "weekly" => each.retention },
  )
}
