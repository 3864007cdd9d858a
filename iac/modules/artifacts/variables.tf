variable "project_id" {
  description = "The project that holds the repository, by its id."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "location" {
  description = "A region, or us, europe or asia. Images are fetched from here by every new node, so choose the cluster's."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^(us|europe|asia|[a-z]+-[a-z]+[0-9]{1,2})$", var.location))
    error_message = "location must be a region such as europe-west1, or us, europe or asia."
  }
}

variable "repository_id" {
  description = "The repository's id; part of every image's name."
  type        = string
  default     = "contentfactory"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.repository_id))
    error_message = "repository_id must be 1 to 63 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "immutable_tags" {
  description = "True to refuse pushing a tag that exists. Google then deletes no tagged image by itself."
  type        = bool
  default     = true
  nullable    = false
}

variable "keep_count" {
  description = "How many of each image's newest versions are always kept, 1 to 1,000: how far back a rollback can go."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.keep_count >= 1 && var.keep_count <= 1000 && floor(var.keep_count) == var.keep_count
    error_message = "keep_count must be a whole number from 1 to 1000."
  }
}

variable "untagged_days" {
  description = "After how many days an image without a tag is deleted, 1 to 3,650."
  type        = number
  default     = 14
  nullable    = false

  validation {
    condition     = var.untagged_days >= 1 && var.untagged_days <= 3650 && floor(var.untagged_days) == var.untagged_days
    error_message = "untagged_days must be a whole number from 1 to 3650."
  }
}

variable "tagged_days" {
  description = "After how many days a tagged image is deleted where tags may move, 1 to 3,650. Ignored while immutable_tags is true."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.tagged_days >= 1 && var.tagged_days <= 3650 && floor(var.tagged_days) == var.tagged_days
    error_message = "tagged_days must be a whole number from 1 to 3650."
  }
}

variable "cleanup_dry_run" {
  description = "True to have Google only log what the policies would delete."
  type        = bool
  default     = false
  nullable    = false
}

variable "readers" {
  description = "Who may pull images, as IAM writes them (serviceAccount:EMAIL): the account of the cluster's nodes."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for each in var.readers : can(regex("^(serviceAccount|group|user):[^@ ]+@[^@ ]+$", each))])
    error_message = "readers must be serviceAccount:EMAIL, group:EMAIL or user:EMAIL; public images are not offered."
  }
}

variable "kms_key_name" {
  description = "A Cloud KMS key to encrypt the images with, in full; null for Google's own key."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name must be written projects/P/locations/L/keyRings/R/cryptoKeys/K, or be null."
  }
}
