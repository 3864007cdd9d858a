variable "project_id" {
  description = "The project that holds the database, by its id (not its name or number)."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "database_name" {
  description = "The database's id; the last part of STORE_URL. Changing it makes a new, empty database."
  type        = string
  default     = "contentfactory"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database_name))
    error_message = "database_name must be 4 to 63 lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen."
  }

  validation {
    condition     = !can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.database_name))
    error_message = "database_name must not look like a UUID; Firestore refuses it."
  }
}

variable "location" {
  description = "Where the documents are: a region such as europe-west1, or a multi-region (nam5, nam7, eur3). Cannot be changed later."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^(nam5|nam7|eur3|[a-z]+-[a-z]+[0-9]{1,2})$", var.location))
    error_message = "location must be a region such as europe-west1, or nam5, nam7 or eur3; a zone (europe-west1-b) is none."
  }
}

variable "deletion_protection" {
  description = "True to have Google refuse the database's deletion and Terraform never ask for it."
  type        = bool
  default     = true
  nullable    = false
}

variable "point_in_time_recovery" {
  description = "True to keep 7 days of past versions, readable at any minute; false keeps 1 hour. The versions are billed as storage."
  type        = bool
  default     = true
  nullable    = false
}

variable "daily_backup_retention_days" {
  description = "How many days a daily backup is kept, 1 to 98; 0 for no daily backups."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.daily_backup_retention_days >= 0 && var.daily_backup_retention_days <= 98 && floor(var.daily_backup_retention_days) == var.daily_backup_retention_days
    error_message = "daily_backup_retention_days must be a whole number from 0 (no daily backups) to 98 (Firestore's 14 weeks)."
  }
}

variable "weekly_backup_retention_days" {
  description = "How many days a weekly backup is kept, 7 to 98; 0 for no weekly backups."
  type        = number
  default     = 56
  nullable    = false

  validation {
    condition     = var.weekly_backup_retention_days == 0 || (var.weekly_backup_retention_days >= 7 && var.weekly_backup_retention_days <= 98 && floor(var.weekly_backup_retention_days) == var.weekly_backup_retention_days)
    error_message = "weekly_backup_retention_days must be 0 (no weekly backups), or a whole number from 7 to 98 (Firestore's 14 weeks)."
  }
}

variable "weekly_backup_day" {
  description = "The day of the weekly backup, in capitals: MONDAY to SUNDAY."
  type        = string
  default     = "SUNDAY"
  nullable    = false

  validation {
    condition     = contains(["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"], var.weekly_backup_day)
    error_message = "weekly_backup_day must be one of MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY."
  }
}
