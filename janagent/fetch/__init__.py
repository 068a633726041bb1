"""The fetcher: a child program that brings the files a manifest asks for."""
