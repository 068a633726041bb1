from janagent.tray.services import NoServices, Services, find


def test_without_a_service_manager_nothing_is_installed_or_offered():
    services: Services = NoServices()
    assert services.is_installed() is False
    assert services.login_enabled() is None


def test_what_is_found_answers_the_questions_of_the_menu():
    services = find()
    assert services.is_installed() in (True, False)
    assert services.login_enabled() in (True, False, None)
