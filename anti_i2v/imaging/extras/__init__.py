"""What lies in a photo file beside the picture that is protected: other pictures, films and sounds."""
