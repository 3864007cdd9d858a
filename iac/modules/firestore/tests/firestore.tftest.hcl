# Run with `make iac-check`; the provider is mocked, so nothing is made and no account is asked for.

mock_provider "google" {}

variables {
  project_id = "my-project-id"
  location   = "europe-west1"
}

run "a_database_is_protected_unless_told_otherwise" {
  command = plan

  assert {
    condition     = google_firestore_database.this.delete_protection_state == "DELETE_PROTECTION_ENABLED"
    error_message = "Google must refuse to delete the database by default."
  }
  assert {
    condition     = google_firestore_database.this.deletion_policy == "ABANDON"
    error_message = "A protected database must be abandoned by Terraform, never deleted."
  }
  assert {
    condition     = google_firestore_database.this.point_in_time_recovery_enablement == "POINT_IN_TIME_RECOVERY_ENABLED"
    error_message = "Past versions must be kept by default."
  }
  assert {
    condition     = google_firestore_database.this.database_edition == "STANDARD" && google_firestore_database.this.type == "FIRESTORE_NATIVE"
    error_message = "The costs in iac/README.md hold for the Standard edition in native mode alone."
  }
  assert {
    condition     = google_firestore_database.this.concurrency_mode == "OPTIMISTIC"
    error_message = "The services never use server locks (docs/decisions/0070)."
  }
}

run "backups_are_daily_and_weekly" {
  command = plan

  assert {
    condition     = google_firestore_backup_schedule.daily[0].retention == "604800s"
    error_message = "Seven days in seconds are 604800s."
  }
  assert {
    condition     = google_firestore_backup_schedule.weekly[0].retention == "4838400s"
    error_message = "Eight weeks in seconds are 4838400s."
  }
  assert {
    condition     = google_firestore_backup_schedule.weekly[0].weekly_recurrence[0].day == "SUNDAY"
    error_message = "The weekly backup is made on Sunday by default."
  }
}

run "a_throwaway_database_can_be_deleted_and_has_no_backups" {
  command = plan

  variables {
    deletion_protection          = false
    point_in_time_recovery       = false
    daily_backup_retention_days  = 0
    weekly_backup_retention_days = 0
  }

  assert {
    condition     = google_firestore_database.this.delete_protection_state == "DELETE_PROTECTION_DISABLED" && google_firestore_database.this.deletion_policy == "DELETE"
    error_message = "Without deletion_protection `terraform destroy` must remove the database."
  }
  assert {
    condition     = length(google_firestore_backup_schedule.daily) + length(google_firestore_backup_schedule.weekly) == 0
    error_message = "Zero days mean no schedule."
  }
  assert {
    condition     = length(output.backup_schedules) == 0
    error_message = "A database without backups must say so."
  }
}

run "the_outputs_name_the_database" {
  command = plan

  assert {
    condition     = output.store_url == "firestore://my-project-id/contentfactory"
    error_message = "store_url must be firestore://PROJECT/DATABASE."
  }
  assert {
    condition     = output.database_id == "projects/my-project-id/databases/contentfactory"
    error_message = "database_id must be written as IAM conditions write it."
  }
}

run "a_zone_is_no_location" {
  command = plan
  variables {
    location = "europe-west1-b"
  }
  expect_failures = [var.location]
}

run "a_backup_lives_at_most_14_weeks" {
  command = plan
  variables {
    daily_backup_retention_days = 99
  }
  expect_failures = [var.daily_backup_retention_days]
}

run "a_weekly_backup_outlives_a_week" {
  command = plan
  variables {
    weekly_backup_retention_days = 3
  }
  expect_failures = [var.weekly_backup_retention_days]
}

run "a_day_is_a_day" {
  command = plan
  variables {
    weekly_backup_day = "Sunday"
  }
  expect_failures = [var.weekly_backup_day]
}

run "a_database_name_is_one" {
  command = plan
  variables {
    database_name = "(default)"
  }
  expect_failures = [var.database_name]
}

run "a_project_number_is_no_project_id" {
  command = plan
  variables {
    project_id = "123456789012"
  }
  expect_failures = [var.project_id]
}
